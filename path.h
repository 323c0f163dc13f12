/* A recurrent network: made by bptt. */
#ifndef PATH_H
#define PATH_H

#ifdef __cplusplus
extern "C" {
#endif

enum { path_inputs = 2, path_outputs = 3 };

/* The state of one stream. */
typedef struct {
  float path_0_l0_h[3];
} path_state;

/* Begin a stream. */
void path_reset(path_state *state);

/* One step: x is 2 numbers, y gets 3 numbers. */
void path_step(path_state *state, const float *x, float *y);

/* A whole sequence, of 2 numbers for each step; y gets 3 numbers for each step. */
void path_run(const float *x, int steps, float *y);

#ifdef __cplusplus
}
#endif

#endif
