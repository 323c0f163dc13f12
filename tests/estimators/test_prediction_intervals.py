"""Quantiles and normal distributions of the regressor: coverage, order, shapes, files."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")

from scipy.stats import norm

import bptt

LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)
SMALL = {"hidden_size": 4, "epochs": 2, "scale": True, "random_state": 0}


def noisy(count, seed):
    """Sequences whose last value decides how far the target lies around their mean."""
    random = np.random.default_rng(seed)
    X = random.uniform(0.1, 1.0, (count, 4, 1)).astype(np.float32)
    mean, std = 3.0 + 5.0 * X[:, :, 0].mean(axis=1), 2.0 * X[:, -1, 0]
    return X, mean + std * random.standard_normal(count), mean, std


def coverage(bounds, y):
    return float(np.mean((bounds[0] <= y) & (y <= bounds[1])))


@pytest.mark.parametrize("loss", ["quantile", "gaussian"])
def test_intervals_cover_held_out_values(loss):
    """80 and 95 % intervals, of noise that depends on the input, cover 80 ± 3 and 95 ± 2 %."""
    X, y, *_ = noisy(3000, 0)
    model = bptt.SequenceRegressor(
        loss=loss,
        quantiles=LEVELS if loss == "quantile" else None,
        cell="gru",
        hidden_size=8,
        epochs=15,
        batch_size=64,
        learning_rate=0.01,
        schedule=bptt.schedules.CosineDecay(epochs=15),
        scale=True,
        random_state=0,
    ).fit(X, y)
    held_out, y, mean, std = noisy(4000, 1)
    for inside, margin in ((0.8, 0.03), (0.95, 0.02)):
        lower, upper = model.predict_interval(held_out, coverage=inside)
        assert abs(coverage((lower, upper), y) - inside) < margin
        true = 2 * norm.ppf((1 + inside) / 2) * std  # the width follows the noise
        assert np.corrcoef(upper - lower, true)[0, 1] > 0.95
        np.testing.assert_allclose((upper - lower).mean(), true.mean(), rtol=0.1)
    np.testing.assert_allclose(model.predict(held_out), mean, atol=0.8)


@pytest.mark.parametrize("outputs", [None, 1, 3])
@pytest.mark.parametrize("pool", ["last", None])
@pytest.mark.parametrize("loss", ["quantile", "gaussian"])
def test_shapes_order_units_and_files(loss, pool, outputs, tmp_path):
    random = np.random.default_rng(0)
    X = [random.standard_normal((n, 2)) for n in random.integers(1, 6, 20)]
    shape = () if outputs is None else (outputs,)
    y = [
        100 + 10 * random.standard_normal((*([len(x)] if pool is None else []), *shape)) for x in X
    ]
    if pool is None:
        y[0][0] = np.nan  # does not count
    else:
        y = np.array(y)
    levels = (0.1, 0.3, 0.5, 0.7, 0.9)
    model = bptt.SequenceRegressor(
        loss=loss, quantiles=levels if loss == "quantile" else None, pool=pool, **SMALL
    ).fit(X, y)
    quantiles = model.predict_quantiles(X, quantiles=levels)
    point, (lower, upper) = model.predict(X), model.predict_interval(X, coverage=0.8)
    for i in range(len(X)):
        rows = (len(X[i]),) if pool is None else ()
        assert quantiles[i].shape == (*rows, *shape, 5)
        assert (np.diff(quantiles[i], axis=-1) >= 0).all()  # an untrained network crosses them
        assert np.shape(point[i]) == np.shape(lower[i]) == (*rows, *shape)
        np.testing.assert_array_equal(quantiles[i][..., 0], lower[i])
        np.testing.assert_allclose(quantiles[i][..., 2], point[i], rtol=1e-6)
        np.testing.assert_array_equal(quantiles[i][..., 4], upper[i])
        assert (np.abs(point[i] - 100) < 40).all()  # in the unit of the targets
    default = model.predict_quantiles(X)
    assert default[0].shape[-1] == (5 if loss == "quantile" else 3)
    model.save(tmp_path / "model")
    loaded = bptt.load_estimator(tmp_path / "model")
    for found, expected in zip(loaded.predict_interval(X), (lower, upper), strict=True):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    loaded.partial_fit(X, y)
    metric = loaded.history_[-1].metric
    assert metric == pytest.approx(10, abs=6)  # mean absolute error, in the unit of the targets


def test_bits_do_not_depend_on_threads():
    X, y, *_ = noisy(200, 0)
    for loss in ("quantile", "gaussian"):
        found = []
        for threads in (1, 2, 3, 8):
            with bptt.threads(threads):
                model = bptt.SequenceRegressor(loss=loss, **SMALL).fit(X, y)
                found.append(np.stack(model.predict_interval(X)))
        for one in found[1:]:
            np.testing.assert_array_equal(one, found[0])


def test_the_log_names_the_loss(capsys):
    X, y, *_ = noisy(20, 0)
    for loss, words in (("quantile", "quantiles 0.1, 0.5, 0.9"), ("gaussian", "mean and standard")):
        bptt.SequenceRegressor(loss=loss, verbose=True, **SMALL).fit(X, y)
        expected = f"target: 1 number per sequence, standardized, {words}"
        assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "mse"}, "loss must be one of 'squared_error', 'quantile', 'gaussian', got 'mse'"),
        ({"quantiles": (0.5,)}, "quantiles needs loss='quantile', got loss='squared_error'"),
        ({"loss": "quantile", "quantiles": (0.1, 0.9)}, "quantiles must have 0.5"),
        ({"loss": "quantile", "quantiles": (0.5, 0.1)}, "quantiles must be increasing numbers"),
    ],
)
def test_wrong_parameters(options, message):
    X, y, *_ = noisy(20, 0)
    with pytest.raises(ValueError, match=message):
        bptt.SequenceRegressor(**SMALL, **options).fit(X, y)


def test_wrong_arguments_of_prediction():
    X, y, *_ = noisy(20, 0)
    plain = bptt.SequenceRegressor(**SMALL).fit(X, y)
    for call in (plain.predict_interval, plain.predict_quantiles):
        with pytest.raises(ValueError, match="need loss='quantile' or loss='gaussian'"):
            call(X)
    model = plain.set_params(loss="quantile").fit(X, y)
    with pytest.raises(ValueError, match=r"among those in fit, 0.1, 0.5, 0.9, got 0.025"):
        model.predict_interval(X, coverage=0.95)
    for wrong in (0.0, 1.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="coverage must be in"):
            model.predict_interval(X, coverage=wrong)
    with pytest.raises(ValueError, match="quantiles must be increasing"):
        model.predict_quantiles(X, quantiles=[0.9, 0.1])


def test_targets_far_from_zero_are_warned_of():
    from sklearn.exceptions import ConvergenceWarning

    X, y, *_ = noisy(40, 0)
    with pytest.warns(ConvergenceWarning, match="the square of the metric is"):
        bptt.SequenceRegressor(loss="quantile", **{**SMALL, "scale": False}).fit(X, y + 1000)
