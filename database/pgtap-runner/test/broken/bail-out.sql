\echo 1..2
\echo ok 1
\echo Bail out! the database is on fire
