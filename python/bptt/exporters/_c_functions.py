"""Functions that the C file of a network uses; those that are not used are left out."""

from __future__ import annotations

import re

_ACCUMULATE = """\
/* y += W x, with the columns of W one after the other{what}: four at once, as y is in memory */
static void accumulate{kind}(const {type} *w, {scale}const float *x, int columns, int rows,
                       float *restrict y) {{
  int j = 0;
  for (; j + 4 <= columns; j += 4) {{
    const {type} *w1 = w + rows, *w2 = w1 + rows, *w3 = w2 + rows;
    const float x0 = x[j], x1 = x[j + 1], x2 = x[j + 2], x3 = x[j + 3];
    for (int i = 0; i < rows; ++i) {{
      y[i] += {four};
    }}
    w = w3 + rows;
  }}
  for (; j < columns; ++j) {{
    for (int i = 0; i < rows; ++i) y[i] += {one};
    w += rows;
  }}
}}
"""


def _accumulate(kind: str, type: str, number: str, *, scaled: bool = False) -> str:
    """Return the product with a matrix whose elements become floats by `number`."""
    terms = [f"{number.format(f'{w}[i]')} * x{j}" for j, w in enumerate(("w", "w1", "w2", "w3"))]
    four, one = " + ".join(terms), f"{number.format('w[i]')} * x[j]"
    return _ACCUMULATE.format(
        kind=kind,
        type=type,
        what=" and a scale for each row" if scaled else "",
        scale="const float *scale, " if scaled else "",
        four=f"scale[i] * ({four})" if scaled else four,
        one=f"scale[i] * ({one})" if scaled else one,
    )


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
    "widened": """\
/* the float whose upper half is given */
static float widened(uint16_t half) {
  const union { uint32_t bits; float number; } all = {(uint32_t)half << 16};
  return all.number;
}
""",
    "copy_bfloat16": """\
static void copy_bfloat16(const uint16_t *x, int count, float *y) {
  for (int i = 0; i < count; ++i) y[i] = widened(x[i]);
}
""",
    "copy_int8": """\
static void copy_int8(const int8_t *x, const float *scale, int count, float *y) {
  for (int i = 0; i < count; ++i) y[i] = scale[i] * (float)x[i];
}
""",
    "accumulate": _accumulate("", "float", "{}"),
    "accumulate_bfloat16": _accumulate("_bfloat16", "uint16_t", "widened({})"),
    "accumulate_int8": _accumulate("_int8", "int8_t", "(float){}", scaled=True),
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
    "hyperbolic_tangent": """\
/* tanh, within 6 ulp: x P(x^2) / Q(x^2) of least relative error on |x| <= 7.9. Loops of arithmetic
   alone become vector instructions, unlike calls of tanhf. */
static float hyperbolic_tangent(float x) {
  x = x > 7.9f ? 7.9f : x < -7.9f ? -7.9f : x;
  const float s = x * x;
  const float p = 1.0f + s * (1.34506255e-1f + s * (3.57899861e-3f + s * (2.2023356e-5f +
                  s * 1.54281317e-8f)));
  const float q = 1.0f + s * (4.67839539e-1f + s * (2.61922628e-2f + s * (3.4236614e-4f +
                  s * 8.59884381e-7f)));
  return x * p / q;
}
""",
    "sigmoid": """\
static float sigmoid(float x) { return 0.5f + 0.5f * hyperbolic_tangent(0.5f * x); }
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

ACTIVATIONS = {
    "tanh": "hyperbolic_tangent",
    "sigmoid": "sigmoid",
    "relu": "relu",
    "identity": "identity",
}
"""Names of `bptt.nn.activations`, and their functions in C; those of gates have their own names."""


def used_by(code: str) -> str:
    """Return the functions that some code calls, and those that these call."""
    called: list[str] = []
    for name in reversed(FUNCTIONS):  # each stands before those that call it
        if re.search(rf"\b{name}\(", code):
            called.append(FUNCTIONS[name])
            code += FUNCTIONS[name]
    return "\n".join(reversed(called))
