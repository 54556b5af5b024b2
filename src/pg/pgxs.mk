# The extension, built by PGXS.  Run from the top of the tree by the Makefile:
#	 make -f src/pg/pgxs.mk BUILD=build PG_CONFIG=...

BUILD ?= build
MODULE_big = vectron
EXTENSION = vectron
DATA = sql/vectron--1.0.sql
OBJS = $(patsubst %.c,%.o,$(wildcard src/pg/*.c))
PG_CPPFLAGS = -Isrc -D_GNU_SOURCE
PG_CFLAGS = -ffp-contract=off -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers -Wno-cast-function-type -Wno-declaration-after-statement -Werror
OUR_LIBS = $(foreach m,client wire vec base,$(wildcard $(BUILD)/lib$(m).a))
SHLIB_LINK = $(OUR_LIBS) -ljansson -lcrypto -lxxhash -lm -Wl,--exclude-libs,ALL -Wl,-Bsymbolic

# pg_regress as the test harness starts it; inputs in test/sql, answers in expected/
REGRESS = $(patsubst test/sql/%.sql,%,$(wildcard test/sql/*.sql))
REGRESS_OPTS = --inputdir=test --load-extension=vectron

override with_llvm = no
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

vectron.so: $(OUR_LIBS)

$(OBJS): $(wildcard src/*/*.h)
