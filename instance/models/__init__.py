"""The forecasting models, one file each behind one interface. Runs on the instance, in the worker."""
