"""What the controller decides: pure functions of records, documents and times. Runs in Lambda; touches no AWS."""
