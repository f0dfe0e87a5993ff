"""Export without Python: a TOML file that names model files, data files and columns becomes a bundle.

schema       what the file may say
problems     where in the file something is wrong, in words
models       a model file to the object that it holds
tables       Parquet, CSV, NPZ and NPY files
images       folders of images
inputs       what one input holds
data         the rows, the truth and given scores
checks       whether all is there and fits, before a model is loaded
scoring      rows for the converters, answers of the members
run          load -> convert -> score -> build
reference    the table of all keys
report       what is printed of it
"""
