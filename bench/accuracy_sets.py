"""The real data sets of bench/accuracy.py, each read from inside a published package of a fixed version.

A set is a table with its target as one column. Rows without a target are left out, so are columns that give the
target away; larger sets are cut to a number of rows drawn at random with a fixed seed. Nothing else is done to them:
words stay words, missing values stay missing.

Packages other than scikit-learn lie in a folder of their own, unpacked by `install` without what they depend on, and
are never imported.
"""

import gzip
import io
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import pandas as pd

PACKAGES = {"islp": "0.6.0", "mlxtend": "0.25.0", "pydataset": "0.2.0", "statsmodels": "0.15.0"}
_SEED = 0


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set.

    Attributes:
        name: unique, a Python identifier.
        package: the distribution that ships it.
        licence: of the package, and what it says of the data.
        task: "binary", "multiclass" or "regression".
        target: column to predict.
        read: folder of the packages -> the table.
        drop: columns that are left out: they give the target away, or number the rows.
        max_rows: rows kept at most.
        about: what is predicted from what, and what was done to the table.
    """

    name: str
    package: str
    licence: str
    task: str
    target: str
    read: Callable[[Path], pd.DataFrame]
    drop: tuple[str, ...] = ()
    max_rows: int = 20_000
    about: str = ""

    def load(self, folder: Path) -> pd.DataFrame:
        """Return the table, its target a column.

        Args:
            folder: where `install` put the packages.

        Raises:
            ValueError: the package is not there, or in another version.
        """
        self._check_version(folder)
        table = self.read(folder).drop(columns=list(self.drop)).dropna(subset=[self.target])
        if len(table) > self.max_rows:
            table = table.sample(self.max_rows, random_state=_SEED)
        return table.reset_index(drop=True)

    def _check_version(self, folder: Path) -> None:
        if (wanted := PACKAGES.get(self.package)) is None:
            return
        found = {d.name.lower(): d.version for d in metadata.distributions(path=[str(folder)])}.get(self.package)
        if found != wanted:
            raise ValueError(f"{self.name}: expected {self.package} {wanted} in {folder}, found {found}; see `prepare`")

    def version(self) -> str:
        """Return the version of the package."""
        return PACKAGES.get(self.package) or metadata.version(self.package)


def install(folder: Path) -> None:
    """Unpack the packages that hold the data into a folder, without their dependencies."""
    wanted = [f"{name}=={version}" for name, version in PACKAGES.items()]
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--no-deps", "--upgrade"]
    subprocess.run([*pip, "--target", str(folder), *wanted], check=True)


def _scikit_learn(name: str, folder: Path) -> pd.DataFrame:
    del folder
    from sklearn import datasets

    return getattr(datasets, f"load_{name}")(as_frame=True).frame


def _islp(name: str, folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "ISLP" / "data" / f"{name}.csv")


def _pydataset(path: str, folder: Path) -> pd.DataFrame:
    with tarfile.open(folder / "pydataset" / "resources.tar.gz") as archive:
        file = archive.extractfile(f"resources/rdata/csv/{path}.csv")
        if file is None:
            raise ValueError(f"pydataset holds no {path}.csv")
        return pd.read_csv(io.BytesIO(file.read()), index_col=0)


def _fair(folder: Path) -> pd.DataFrame:
    table = pd.read_csv(folder / "statsmodels" / "datasets" / "fair" / "fair.csv")
    return table.assign(affair=(table["affairs"] > 0).map({True: "yes", False: "no"}))


def _anes96(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "statsmodels" / "datasets" / "anes96" / "anes96.csv", sep="\t", quotechar="'")


def _mnist(folder: Path) -> pd.DataFrame:
    with gzip.open(folder / "mlxtend" / "data" / "data" / "mnist_5k.csv.gz") as file:
        table = pd.read_csv(file, header=None)
    return table.set_axis([*(f"pixel{i}" for i in range(table.shape[1] - 1)), "digit"], axis=1)


_BSD = "BSD-3-Clause"
_STATSMODELS = "BSD-3-Clause; data: {}"
_R = "MIT; data from R's {}"

SETS = {
    each.name: each
    for each in (
        DataSet(
            *("breast_cancer", "scikit-learn", _BSD, "binary", "target", partial(_scikit_learn, "breast_cancer")),
            about="malignant or benign, from measurements of cell nuclei",
        ),
        DataSet(
            *("digits", "scikit-learn", _BSD, "multiclass", "target", partial(_scikit_learn, "digits")),
            about="the digit, from 8 x 8 pixels",
        ),
        DataSet(
            *("fair", "statsmodels", _STATSMODELS.format("by permission of the author"), "binary", "affair", _fair),
            drop=("affairs",),
            about="whether there was an affair, from a survey of marriages",
        ),
        DataSet(
            *("anes96", "statsmodels", _STATSMODELS.format("public domain"), "multiclass", "PID", _anes96),
            about="party identification in seven steps, from a survey of voters",
        ),
        DataSet(
            *("mnist", "mlxtend", _BSD, "multiclass", "digit", _mnist),
            max_rows=2_500,
            about="the digit, from 28 x 28 pixels; half of the packaged rows",
        ),
        DataSet(
            *("benefits", "pydataset", _R.format("Ecdat"), "binary", "ui", partial(_pydataset, "Ecdat/Benefits")),
            about="whether the unemployed draw benefits",
        ),
        DataSet(
            *("diamonds_cut", "pydataset", _R.format("ggplot2"), "multiclass", "cut"),
            partial(_pydataset, "ggplot2/diamonds"),
            max_rows=10_000,
            about="quality of the cut, from size, price, colour and clarity; 10,000 of 53,940 rows",
        ),
        DataSet(
            *("chile", "pydataset", _R.format("car"), "multiclass", "vote", partial(_pydataset, "car/Chile")),
            about="intended vote in the plebiscite of 1988; missing values",
        ),
        DataSet(
            *("fishing", "pydataset", _R.format("Ecdat"), "multiclass", "mode", partial(_pydataset, "Ecdat/Fishing")),
            drop=("price", "catch"),
            about="where anglers fish, from prices and catch rates of all four modes (those of the chosen one dropped)",
        ),
        DataSet(
            *("oj", "islp", "BSD", "binary", "Purchase", partial(_islp, "OJ")),
            about="which of two orange juices is bought",
        ),
        DataSet(
            *("caravan", "islp", "BSD", "binary", "Purchase", partial(_islp, "Caravan")),
            about="who insures a caravan; one class has 6 % of the rows",
        ),
        DataSet(
            *("diabetes", "scikit-learn", _BSD, "regression", "target", partial(_scikit_learn, "diabetes")),
            about="progression of the disease after a year",
        ),
        DataSet(
            *("wage", "islp", "BSD", "regression", "wage", partial(_islp, "Wage")),
            drop=("logwage",),
            about="wage, from age, education and the like",
        ),
        DataSet(
            *("bikeshare", "islp", "BSD", "regression", "bikers", partial(_islp, "Bikeshare")),
            drop=("casual", "registered"),
            about="bicycles hired in an hour, from time and weather",
        ),
        DataSet(
            *("computers", "pydataset", _R.format("Ecdat"), "regression", "price"),
            partial(_pydataset, "Ecdat/Computers"),
            about="prices of personal computers in the nineties",
        ),
        DataSet(
            *("diamonds_price", "pydataset", _R.format("ggplot2"), "regression", "price"),
            partial(_pydataset, "ggplot2/diamonds"),
            max_rows=20_000,
            about="price of a diamond; 20,000 of 53,940 rows",
        ),
    )
}
