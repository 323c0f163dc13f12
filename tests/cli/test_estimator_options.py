"""Options of the estimator: every declared option reaches it, or is an error."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

pytest.importorskip("sklearn")

import bptt
from bptt.cli import demo, estimator_options, train
from bptt.cli.errors import CommandError
from bptt.cli.schema import TASKS, Schema
from bptt.estimators._regression_losses import LOSSES
from bptt.nn.cells import CELLS

TEXTS, NUMBERS = Schema("texts", "cell", ["text"]), Schema("numbers", "cell", ["x"])
X = ["good film", "bad cast"] * 5


def parser_of(add_arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser


def options_of(parser):
    """Actions of the groups that are about the model and its training."""
    groups = [g for g in parser._action_groups if g.title.startswith(("model", "training"))]
    return [action for group in groups for action in group._group_actions]


def example(action):
    """Arguments that set an option to another value than its default, and that value."""
    if action.choices:
        value = next(choice for choice in action.choices if choice != action.default)
        return [action.option_strings[0], value], value
    if action.nargs == 0:
        return [action.option_strings[0]], True
    if action.dest == "class_weight":
        return [action.option_strings[0], "balanced"], "balanced"
    value = action.type("0.25") if action.type in FRACTIONS else action.type("3")
    return [action.option_strings[0], str(value)], value


FRACTIONS = (estimator_options.fraction, estimator_options.learning_rate)


@pytest.mark.parametrize("task", TASKS)
def test_every_option_reaches_the_estimator_or_is_an_error(task):
    parser = parser_of(train.add_arguments)
    for action in options_of(parser):
        arguments, value = example(action)
        parsed = parser.parse_args(["file", *arguments])
        excluded = {
            "pool": ("tagging", "language"),
            "class_weight": ("regression", "language"),
            "loss": ("classification", "tagging", "language"),
            "label_smoothing": ("regression",),
            "crf": ("classification", "regression", "language"),
            "characters": ("classification", "regression", "language"),
        }
        if task in excluded.get(action.dest, ()):
            message = f"argument {action.option_strings[0]}: does not apply to {task}"
            with pytest.raises(CommandError, match=message):
                estimator_options.make_estimator(task, TEXTS, X, parsed)
        else:
            model = estimator_options.make_estimator(task, TEXTS, X, parsed)
            assert model.get_params(deep=False)[action.dest] == value


def test_options_are_declared_once():
    parser = parser_of(train.add_arguments)
    declared = parser.parse_args(["file"]).estimator_options
    assert set(declared) == {action.dest for action in options_of(parser)}


def test_every_option_of_the_demo_is_a_parameter_of_the_language_model():
    parser = parser_of(demo.add_arguments)
    arguments = parser.parse_args([])
    parameters = bptt.LanguageModel().get_params()
    others = {"text", "no_compare", "output"}
    assert set(arguments.estimator_options) <= set(parameters)
    declared = {action.dest for action in options_of(parser)}
    assert set(arguments.estimator_options) == declared - others
    assert {action.dest for action in arguments.training_options} == declared


def test_cells_are_those_of_the_layers():
    for add_arguments in (train.add_arguments, demo.add_arguments):
        cells = next(a for a in options_of(parser_of(add_arguments)) if a.dest == "cell")
        assert cells.choices == tuple(CELLS)


def test_losses_are_those_of_the_regressor():
    losses = next(a for a in options_of(parser_of(train.add_arguments)) if a.dest == "loss")
    assert losses.choices == LOSSES


def test_tokens_need_texts():
    parsed = parser_of(train.add_arguments).parse_args(["file", "--tokens", "words"])
    sequences = [np.zeros((3, 1))] * 4
    with pytest.raises(CommandError, match="--tokens: needs texts, got sequences of numbers"):
        estimator_options.make_estimator("classification", NUMBERS, sequences, parsed)


def test_language_models_need_tokens():
    parsed = parser_of(train.add_arguments).parse_args(["file"])
    with pytest.raises(CommandError, match="a language model needs texts or tokens, got"):
        estimator_options.make_estimator("language", NUMBERS, [np.zeros((3, 1))] * 4, parsed)
