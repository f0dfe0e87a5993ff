"""The zoo: kinds of models that can be members of an ensemble, deliberately unlike each other.

Each kind says for which problems it is made, what of it can be searched, and how it is trained, scored and converted:

    wide: xgboost, lightgbm, hist_gradient_boosting, random_forest, extra_trees, linear
    deep: image_net, signal_net, mlp, wide_deep

Knows nothing of a search, of files or of time limits beyond the moment at which a training must stop.
"""
