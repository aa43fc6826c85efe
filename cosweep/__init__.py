"""Where, over data interventions and hyperparameters, single-step adversarial training breaks."""

__version__ = "0.1.0"
