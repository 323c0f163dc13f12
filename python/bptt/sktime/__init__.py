"""bptt's estimators as those of sktime: `Classifier`, `Regressor` and `Forecaster`.

>>> import bptt, bptt.sktime
>>> model = bptt.sktime.Classifier(bptt.SequenceClassifier(cell="gru", random_state=0))
>>> model.fit(X_train, y_train).predict(X_test)  # doctest: +SKIP

Each takes an estimator, whose parameters are nested: ``estimator__hidden_size``. sktime is imported
here alone.
"""

try:
    from bptt.sktime._classifier import Classifier
    from bptt.sktime._forecaster import Forecaster
    from bptt.sktime._regressor import Regressor
except ModuleNotFoundError as error:
    if str(error.name).partition(".")[0] == "sktime":
        cure = "bptt.sktime needs sktime: pip install 'bptt[sktime]'"
        raise ModuleNotFoundError(cure, name="sktime") from error
    raise

__all__ = ["Classifier", "Forecaster", "Regressor"]
