"""Small Keras nets, really trained for a few steps."""

from collections.abc import Callable
from typing import Any


def trained(
    keras: Any, net: Any, rows: Any, target: Any, loss: Any = "sparse_categorical_crossentropy", *, epochs: int = 2
) -> Any:
    """Compile and fit a net, and return it."""
    net.compile(keras.optimizers.Adam(0.01), loss, jit_compile=False)
    net.fit(rows, target, epochs=epochs, verbose=0)
    return net


def subclassed(keras: Any, call: Callable[[Any, Any], Any], *layers: Any) -> Any:
    """Return a subclassed model with the Dense layers `first` and `last` and others, that runs `call(self, x)`."""

    class Own(keras.Model):  # type: ignore[misc, name-defined]  # Keras publishes no types
        def __init__(self) -> None:
            super().__init__()
            self.first = keras.layers.Dense(8, activation="relu")
            self.last = keras.layers.Dense(3, activation="softmax")
            self.others = list(layers)

        def call(self, x: Any) -> Any:
            return call(self, x)

    return Own()
