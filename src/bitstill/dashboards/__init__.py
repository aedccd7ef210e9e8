"""wandb's dashboards as code: a report and a workspace, from what the local report is made from."""
