\echo 1..2
\echo ok 2
\echo ok 1
