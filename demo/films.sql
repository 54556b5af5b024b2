-- Plain SQL on the index: what a user would type.
\pset footer off
\pset linestyle unicode
\pset border 1
SET enable_seqscan = off;	-- 3 400 rows are so few that the planner might read them all
SET jit = off;

\echo 'Films like Alien, from the seventies:'
\pset format unaligned
\pset tuples_only on
SELECT format(E'  %s (%s; %s)\n      %s', title, year, array_to_string(genres, ', '),
			  regexp_replace(story, '(.{60,90}) ', E'\\1\n      ', 'g'))
FROM films
WHERE year BETWEEN 1970 AND 1979 AND title <> 'Alien'
ORDER BY embedding <=> (SELECT embedding FROM films WHERE title = 'Alien' AND year = 1979)
LIMIT 7;
\pset format aligned
\pset tuples_only off

\echo
\echo 'Comedies like Alien, by a join:'
SELECT f.title, f.year, array_to_string(f.genres, ', ') AS genres
FROM films f JOIN film_genres g ON g.film_id = f.id AND g.genre = 'Comedy'
ORDER BY f.embedding <=> (SELECT embedding FROM films WHERE title = 'Alien' AND year = 1979)
LIMIT 5;

\echo 'A prepared statement, for The Godfather and for Casablanca:'
PREPARE films_like (text, integer) AS
	SELECT title, year, array_to_string(genres, ', ') AS genres FROM films
	ORDER BY embedding <=> (SELECT embedding FROM films WHERE title = $1 AND year = $2)
	OFFSET 1 LIMIT 5;
EXECUTE films_like('The Godfather', 1972);
EXECUTE films_like('Casablanca', 1942);

\echo 'An uncommitted film is found by the one who writes it, and gone after ROLLBACK:'
BEGIN;
INSERT INTO films
	SELECT 100000, 'A remake of Alien', 2027, genres, 'Not yet made.', embedding
	FROM films WHERE title = 'Alien' AND year = 1979;
SELECT title, year FROM films
ORDER BY embedding <=> (SELECT embedding FROM films WHERE title = 'Alien' AND year = 1979)
LIMIT 2;
ROLLBACK;
SELECT title, year FROM films
ORDER BY embedding <=> (SELECT embedding FROM films WHERE title = 'Alien' AND year = 1979)
LIMIT 2;

\echo 'How PostgreSQL runs the first one:'
\pset tuples_only on
EXPLAIN (COSTS OFF)
SELECT title FROM films
WHERE year BETWEEN 1970 AND 1979
ORDER BY embedding <=> (SELECT embedding FROM films WHERE title = 'Alien' AND year = 1979)
LIMIT 7;
