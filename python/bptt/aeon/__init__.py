"""bptt's estimators as those of aeon: `Classifier` and `Regressor`.

>>> import bptt, bptt.aeon
>>> model = bptt.aeon.Classifier(bptt.SequenceClassifier(cell="gru", random_state=0))
>>> model.fit(X_train, y_train).predict(X_test)  # doctest: +SKIP

Each takes an estimator, whose parameters are nested: ``estimator__hidden_size``. aeon is imported
here alone.
"""

try:
    from bptt.aeon._collections import Classifier, Regressor
except ModuleNotFoundError as error:
    if str(error.name).partition(".")[0] == "aeon":
        cure = "bptt.aeon needs aeon: pip install 'bptt[aeon]'"
        raise ModuleNotFoundError(cure, name="aeon") from error
    raise

__all__ = ["Classifier", "Regressor"]
