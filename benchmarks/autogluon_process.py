"""Fit and forecast with AutoGluon-TimeSeries. Runs in AutoGluon's own environment, so it imports nothing of ours."""

import json
import sys
import tempfile
import time
from pathlib import Path


def main(data: str, weights: str, horizon: int, freq: str, target: str) -> None:
    """Read a Parquet file, forecast one validation window and beyond, and write the forecasts; print the seconds."""
    from autogluon.timeseries import TimeSeriesDataFrame, TimeSeriesPredictor  # noqa: PLC0415 - not in our environment

    began = time.perf_counter()
    frame = TimeSeriesDataFrame.from_path(data, id_column="unique_id", timestamp_column="ds")
    with tempfile.TemporaryDirectory() as folder:
        predictor = TimeSeriesPredictor(
            prediction_length=horizon, freq=freq, target="y", eval_metric="WQL", path=folder, verbosity=0
        )
        chronos = {"model_path": weights, "device": "cpu"}
        predictor.fit(frame, hyperparameters={"Chronos": chronos}, enable_ensemble=False)
        score = float(predictor.leaderboard()["score_val"].iloc[0])
        predictor.predict(frame).to_data_frame().to_parquet(target)
    print(json.dumps({"seconds": time.perf_counter() - began, "wql": -score, "series": int(frame.num_items)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], str(Path(sys.argv[5])))
