"""SGDClassifier over its alpha; a step is an epoch."""

from dataclasses import dataclass
from typing import ClassVar

from tasks.errors import require
from tasks.single import Single


@dataclass(frozen=True, slots=True, kw_only=True)
class Sgd(Single):
    """A linear classifier of scikit-learn's breast cancer set, which the task reads itself (``dataset=none``)."""

    needs_data: ClassVar[bool] = False
    uses: ClassVar[frozenset[str]] = frozenset({"seed", "steps", "evaluate_every"})

    alpha: float = 1e-4
    penalty: str = "l2"

    def __post_init__(self):
        require(self.alpha > 0, "task.alpha", "must be > 0", self.alpha)

    def train(self, trial, data, report):
        """Train an epoch a step, and report the accuracy on what was held out."""
        import numpy as np
        from sklearn.datasets import load_breast_cancer
        from sklearn.linear_model import SGDClassifier
        from sklearn.model_selection import train_test_split
        from sklearn.preprocessing import scale

        features, labels = load_breast_cancer(return_X_y=True)
        x, held_out, y, answers = train_test_split(scale(features), labels, test_size=0.3, random_state=0)
        model = SGDClassifier(alpha=self.alpha, penalty=self.penalty, random_state=trial.seed)
        for epoch in range(1, trial.steps + 1):
            model.partial_fit(x, y, classes=np.unique(labels))
            if epoch % trial.evaluate_every == 0:
                report(epoch, {"held_out/error": 1 - model.score(held_out, answers)})
        return {"train/error": 1 - model.score(x, y), "coefficients": model.coef_}
