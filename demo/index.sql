-- Genres as a table to join with, and the index this is all about.
CREATE TABLE film_genres AS SELECT id AS film_id, unnest(genres) AS genre FROM films;
CREATE INDEX ON film_genres (film_id, genre);

CREATE INDEX films_embedding ON films USING vectron (embedding vector_cosine_ops, year);
ANALYZE;
