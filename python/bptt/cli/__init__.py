"""Command line of bptt, ``python -m bptt``.

This package is an application and no public API: its modules and functions change without notice.

====================================================  ============================================
`main`                                                parser, dispatch, exit codes
`train`, `predict`, `generate`, `inspect`, `export`,  the commands
`bench`
`arguments`, `errors`                                 types of arguments, errors of use
`readers`, `writers`, `tables`                        files: CSV, TSV, CoNLL, JSON lines, plain text
`schema`, `schema_inference`, `column_kinds`          columns of a table -> sequences and targets
`holdout`                                             training and held-out sequences
`estimator_options`, `saved_models`                   options -> estimator, model files
`baselines`, `evaluation`                             metrics of a model and of its baseline
`console`, `training_progress`, `demo_report`,        printed output
`bench_report`
`bench_layers`, `numpy_comparison`,                   measurements of speed
`worker_process`
`other_libraries`                                     layers in files of PyTorch, Keras and ONNX
`corpus`                                              words of a text
====================================================  ============================================
"""
