-- The tables of the demonstration: films, their genres, and 100 films that are
-- not among them, to ask with.
CREATE EXTENSION vectron;

CREATE TABLE films (
	id			integer PRIMARY KEY,
	title		text NOT NULL,
	year		integer NOT NULL,
	genres		text[] NOT NULL,
	story		text NOT NULL,
	embedding	vector(256) NOT NULL
);
CREATE TABLE queries (
	id			integer PRIMARY KEY,
	title		text NOT NULL,
	year		integer NOT NULL,
	embedding	vector(256) NOT NULL
);
