"""wandb dashboards as code: a report and a workspace, from the data of the local report."""
