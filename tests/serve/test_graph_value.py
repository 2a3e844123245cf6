"""Every learner of amounts: the graph equals the training side, on all rows and on hostile ones."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from ludocast.datamodules.infer import RawColumns, describe, infer_schema, raw_columns
from ludocast.datamodules.read import from_frame
from ludocast.models.fitted import FittedNumbers
from ludocast.models.table.deep import Training
from ludocast.models.table.fit import FittedTable
from ludocast.models.trainer import TrainerSettings
from ludocast.models.value.fit import fit_value
from ludocast.models.value.learners import value_learner_names
from ludocast.serve.graph_table import export_table

from tests.serve.made_table import hostile, made_frame

FEW = Training(2, TrainerSettings(epochs=3, hidden=32, progress=False))
TOLERANCE = 1e-5  # of an amount, or of the mean amount where that is more


def fitted_value(all_pay: bool, names: str, rows: int = 400) -> tuple[FittedTable, RawColumns]:
    frame = made_frame(0, rows)
    act = frame["y"].to_numpy() / 100 - 10
    label = np.exp(act / 2) if all_pay else np.where(act > 2, np.exp(act / 2), 0.0)
    table = from_frame(frame.assign(y=label))
    schema = infer_schema(table, "y", None, task="regression")
    columns, _ = raw_columns(table, schema)
    schema = describe(schema, columns, np.arange(rows))
    return fit_value(schema, columns, label, None, names=names, training=FEW), columns


@pytest.mark.parametrize(("all_pay", "names"), [(False, "all"), (True, "network,hurdle_linear,hurdle_tweedie")])
def test_onnxruntime_equals_training(all_pay: bool, names: str) -> None:
    found, columns = fitted_value(all_pay, names)
    assert [row.learner for row in found.leaderboard if row.failed] == []
    assert set(found.every) == set(value_learner_names(names))
    for fitted in (*found.every.values(), found.model):
        assert isinstance(fitted, FittedNumbers)
        session = ort.InferenceSession(export_table(fitted).SerializeToString(), providers=["CPUExecutionProvider"])
        who = str(dict(fitted.weights))
        for rows in (columns, hostile(columns, 2_000), {name: values[:1] for name, values in columns.items()}):
            fed = {f"x{i}": rows[column.name][:, None] for i, column in enumerate(fitted.schema.inputs)}
            value, bounds = session.run(None, fed)
            wanted = fitted.predict(rows)
            least = TOLERANCE * fitted.width
            np.testing.assert_allclose(value, wanted, rtol=TOLERANCE, atol=least, err_msg=who)
            np.testing.assert_allclose(bounds, fitted.bounds(wanted), rtol=3 * TOLERANCE, atol=least, err_msg=who)
            assert (value > 0).all()
            assert (bounds[:, 0] >= 0).all()
            assert (bounds[:, 0] <= value).all()
            assert (value <= bounds[:, 1]).all()
