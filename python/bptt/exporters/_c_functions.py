"""Functions that the C file of a network uses; those that are not used are left out."""

from __future__ import annotations

import re

FUNCTIONS = {
    "zero": """\
static void zero(float *y, int count) {
  for (int i = 0; i < count; ++i) y[i] = 0.0f;
}
""",
    "copy": """\
static void copy(const float *x, int count, float *y) {
  for (int i = 0; i < count; ++i) y[i] = x[i];
}
""",
    "add": """\
static void add(const float *x, int count, float *y) {
  for (int i = 0; i < count; ++i) y[i] += x[i];
}
""",
    "accumulate": """\
/* y += W x, with the columns of W one after the other */
static void accumulate(const float *w, const float *x, int columns, int rows, float *restrict y) {
  for (int j = 0; j < columns; ++j) {
    for (int i = 0; i < rows; ++i) y[i] += w[i] * x[j];
    w += rows;
  }
}
""",
    "normalize": """\
/* x = gain * (x - mean) / sqrt(variance + epsilon) */
static void normalize(float *x, int count, const float *gain, float epsilon) {
  float mean = 0.0f, variance = 0.0f;
  for (int i = 0; i < count; ++i) mean += x[i];
  mean /= (float)count;
  for (int i = 0; i < count; ++i) variance += (x[i] - mean) * (x[i] - mean);
  const float scale = 1.0f / sqrtf(variance / (float)count + epsilon);
  for (int i = 0; i < count; ++i) x[i] = gain[i] * ((x[i] - mean) * scale);
}
""",
    "keep": """\
/* x = (1 - share) x + share * before: zoneout, its expected value */
static void keep(const float *before, float share, int count, float *x) {
  for (int i = 0; i < count; ++i) x[i] += share * (before[i] - x[i]);
}
""",
    "sigmoid": """\
static float sigmoid(float x) { return 0.5f + 0.5f * tanhf(0.5f * x); }
""",
    "hard_sigmoid": """\
static float hard_sigmoid(float x) {
  const float y = x / 6.0f + 0.5f;
  return y < 0.0f ? 0.0f : y > 1.0f ? 1.0f : y;
}
""",
    "hard_sigmoid_keras2": """\
static float hard_sigmoid_keras2(float x) {
  const float y = 0.2f * x + 0.5f;
  return y < 0.0f ? 0.0f : y > 1.0f ? 1.0f : y;
}
""",
    "relu": """\
static float relu(float x) { return x > 0.0f ? x : 0.0f; }
""",
    "identity": """\
static float identity(float x) { return x; }
""",
}

ACTIVATIONS = {"tanh": "tanhf", "sigmoid": "sigmoid", "relu": "relu", "identity": "identity"}
"""Names of `bptt.nn.activations`, and their functions in C; those of gates have their own names."""


def used_by(code: str) -> str:
    """Return the functions that some code calls."""
    called = [name for name in FUNCTIONS if re.search(rf"\b{name}\(", code)]
    return "\n".join(FUNCTIONS[name] for name in called)
