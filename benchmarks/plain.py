"""The yardstick of ``bitstill bench train`` and ``bench sweep``: what most people would write.

Standard modules, a DataLoader over PIL images with two workers, NCHW float32, the teacher's forward
pass in every step, metrics logged in every step. It is correct, and nothing in it is slow on
purpose. It knows nothing of bitstill.

    python benchmarks/plain.py --epochs 2     the 14 runs of `experiment=quick`, one after the other
"""

import argparse
import logging
import tempfile
import warnings

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

LAYERS = (
    ("conv", 3, 16),
    ("pool",),
    ("conv", 16, 32),
    ("conv", 32, 32),
    ("pool",),
    ("conv", 32, 64),
    ("conv", 64, 64),
    ("pool",),
    ("conv", 64, 128),
    ("conv", 128, 128),
)


class Images(Dataset):
    """Images as in torchvision's data sets: one PIL image at a time, made into a tensor."""

    def __init__(self, images, labels):
        self.images = [Image.fromarray(image) for image in images]
        self.labels = [int(label) for label in labels]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        array = np.array(self.images[index])
        return torch.from_numpy(array).permute(2, 0, 1).float().div(255), self.labels[index]


def round_half_up(x):
    return torch.floor(x + 0.5)


class QuantizedConv(nn.Conv2d):
    """Two-bit weights."""

    def forward(self, x):
        w = torch.tanh(self.weight)
        m = 2 * w.abs().mean()
        scaled = torch.clamp(w / m, -0.5, 0.5) + 0.5
        quantized = m * (round_half_up(3 * scaled) / 3 - 0.5)
        weight = w + (quantized - w).detach()
        return F.conv2d(x, weight, self.bias, padding=1)


class Affine(nn.Module):
    """(|k| + 1) x + b."""

    def __init__(self, channels):
        super().__init__()
        self.k = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.b = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x):
        return (self.k.abs() + 1) * x + self.b


class OneBit(nn.Module):
    """One-bit features."""

    def forward(self, x):
        clipped = torch.clamp(0.1 * x, 0, 1)
        return clipped + (round_half_up(clipped) - clipped).detach()


def network(quantized):
    """Return a student if quantized, else a teacher."""
    layers = []
    for kind, *channels in LAYERS:
        if kind == "pool":
            layers.append(nn.MaxPool2d(2))
        elif quantized:
            layers.append(QuantizedConv(*channels, 3, padding=1))
            layers.append(nn.BatchNorm2d(channels[1], eps=1e-3, momentum=0.01, affine=False))
            layers += [Affine(channels[1]), OneBit()]
        else:
            layers.append(nn.Conv2d(*channels, 3, padding=1))
            layers.append(nn.BatchNorm2d(channels[1], eps=1e-3, momentum=0.01))
            layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(128, 10))


class Distillation(pl.LightningModule):
    """Trains a teacher (``loss="hard"``, T = 1), or a student from one."""

    def __init__(self, network, loss="hard", temperature=1.0, teacher=None):
        super().__init__()
        self.network, self.loss, self.temperature = network, loss, temperature
        self.teacher = teacher
        if teacher is not None:
            teacher.eval().requires_grad_(False)

    def training_step(self, batch, batch_idx):
        images, labels = batch
        logits, t = self.network(images), self.temperature
        if self.loss == "hard":
            loss = F.cross_entropy(logits / t, labels)
        elif self.loss == "gt_soft_hard":
            loss = F.cross_entropy(logits, labels) + t**2 * F.cross_entropy(logits / t, labels)
        else:
            with torch.no_grad():
                targets = F.softmax(self.teacher(images) / t, dim=1)
            loss = F.cross_entropy(logits / t, targets)
            if self.loss == "soft_hard":
                loss = F.cross_entropy(logits, labels) + t**2 * loss
        accuracy = (logits.argmax(1) == labels).float().mean()
        self.log_dict({"train/loss": loss, "train/accuracy": accuracy}, on_step=True)
        return loss

    def on_train_epoch_start(self):
        if self.teacher is not None:
            self.teacher.eval()

    def validation_step(self, batch, batch_idx):
        images, labels = batch
        right = (self.network(images).argmax(1) == labels).float().mean()
        self.log("test/accuracy", right, batch_size=len(labels))

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        steps = torch.optim.lr_scheduler.MultiStepLR(optimizer, [15, 40], gamma=0.1)
        return [optimizer], [steps]


def loader(images, labels, batch_size, *, train):
    return DataLoader(
        Images(images, labels),
        batch_size=batch_size,
        shuffle=train,
        drop_last=train,
        num_workers=2,
        persistent_workers=True,
    )


def digits():
    """scikit-learn's digits as 32x32 RGB: the first 1,293 to train on, as many as bitstill does."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = [
        np.array(Image.fromarray((image * 15).astype(np.uint8)).resize((32, 32)).convert("RGB"))
        for image in data.images
    ]
    return (images[:1293], data.target[:1293]), (images[1437:], data.target[1437:])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=256)
    settings = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    train, test = digits()

    def run(task, name):
        pl.seed_everything(0, verbose=False)
        with tempfile.TemporaryDirectory() as folder:
            trainer = pl.Trainer(
                max_epochs=settings.epochs,
                accelerator="cpu",
                enable_progress_bar=False,
                enable_model_summary=False,
                log_every_n_steps=1,
                default_root_dir=folder,
            )
            trainer.fit(
                task,
                loader(*train, settings.batch_size, train=True),
                loader(*test, settings.batch_size, train=False),
            )
        print(f"{name}: {trainer.callback_metrics['test/accuracy']:.4f}", flush=True)

    teacher = network(quantized=False)
    run(Distillation(teacher), "teacher")
    run(Distillation(network(quantized=True), "hard", 15), "hard")
    for loss in ("soft", "soft_hard", "gt_soft_hard"):
        for temperature in (10, 15, 50, 100):
            task = Distillation(network(quantized=True), loss, temperature, teacher)
            run(task, f"{loss} T={temperature}")


if __name__ == "__main__":
    main()
