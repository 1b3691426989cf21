-- Run once, when the data folder is new: the ledger's database beside Dagster's.
CREATE DATABASE madang_ledger;
