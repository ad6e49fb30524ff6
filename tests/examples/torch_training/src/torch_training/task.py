"""An ordinary PyTorch training loop: three lines more report, keep, and take up where it was left."""

import io
from dataclasses import dataclass

from tasks.errors import require
from tasks.single import Single


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchTraining(Single):
    """A network with one hidden layer, trained by Adam."""

    width: int = 32

    def __post_init__(self):
        require(self.width >= 1, "task.width", "must be >= 1", self.width)

    def train(self, trial, data, report):
        """Train on the data set of the config."""
        import torch  # seconds: only where a trial is computed

        torch.set_num_threads(1)  # a sum's bits depend on the number
        torch.manual_seed(trial.seed)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        features = torch.from_numpy(data.features(data.train)).to(device)
        labels = torch.tensor(data.train.labels).to(device)
        layers = [torch.nn.Linear(features.shape[1], self.width), torch.nn.ReLU()]
        model = torch.nn.Sequential(*layers, torch.nn.Linear(self.width, len(data.classes))).to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=trial.learning_rate)
        if report.step:
            kept = torch.load(io.BytesIO(report.kept["state"]), weights_only=True)
            model.load_state_dict(kept["model"])
            optimizer.load_state_dict(kept["optimizer"])

        def keep():
            state = io.BytesIO()
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, state)
            return {"state": state.getvalue()}

        def accuracy(split):
            with torch.no_grad():
                scores = model(torch.from_numpy(data.features(split)).to(device)).cpu()
            return (scores.argmax(dim=1) == torch.tensor(split.labels)).float().mean().item()

        for step in range(report.step + 1, trial.steps + 1):
            order = torch.Generator().manual_seed(trial.seed * 1_000_003 + step)  # the same when it goes on
            batch = torch.randint(len(labels), (trial.batch_size or len(labels),), generator=order)
            loss = torch.nn.functional.cross_entropy(model(features[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % trial.evaluate_every == 0:
                print(f"step {step}: loss {loss.item():.3f}")
                report(step, {"train/loss": loss.item(), "val/accuracy": accuracy(data.validation)}, keep=keep)
        weights = {name: value.detach().cpu().numpy() for name, value in model.named_parameters()}
        return {"test/accuracy": accuracy(data.test), **weights}
