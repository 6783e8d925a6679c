"""What `rayc microbenchmark` measures: the rows, how they are timed, how they are shown.

Works on any engine with Ray's programming model, which is handed in as a module; imports
neither rayc's core nor Ray. Remote functions are made inside functions, so that they travel by
value: the workers of the other engine need not find this package.
"""
