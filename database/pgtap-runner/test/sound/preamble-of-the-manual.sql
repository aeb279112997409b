\unset ECHO
\set QUIET 1
-- Turn off echo and keep things quiet.
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_ROLLBACK 1
\set ON_ERROR_STOP true
SET client_min_messages = warning;
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT plan(1);
SELECT pass('My test passed, w00t!');
SELECT * FROM finish();
ROLLBACK;
