# The extension, built by PGXS.  Run from the top of the tree by the Makefile:
#	 make -f src/pg/pgxs.mk BUILD=build PG_CONFIG=...
#
# Objects go to $(BUILD)/pg; vectron.so stands at the top, where PGXS installs
# it from, and is linked each time, so that it is always that of the last BUILD
# and DEFINES asked for.

BUILD ?= build
MODULE_big = vectron
EXTENSION = vectron
DATA = $(wildcard sql/vectron--*.sql)
OBJS = $(patsubst src/pg/%.c,$(BUILD)/pg/%.o,$(wildcard src/pg/*.c))
EXPORTS = $(BUILD)/pg/exports.map
PG_CPPFLAGS = -Isrc -D_GNU_SOURCE $(DEFINES)
SWITCHED := $(if $(PLAIN),$(shell grep -rlE --include='*.[ch]' VT_BREAKS src))
PG_CFLAGS = -ffp-contract=off -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers -Wno-cast-function-type -Wno-declaration-after-statement -Werror
OUR_LIBS = $(foreach m,client wire vec base,$(wildcard $(BUILD)/lib$(m).a))
SHLIB_LINK = $(OUR_LIBS) -ljansson -lssl -lcrypto -lxxhash -lm -Wl,-Bsymbolic -Wl,--version-script=$(EXPORTS)
EXTRA_CLEAN = $(BUILD)/pg

# pg_regress as the test harness starts it; inputs in test/sql, answers in expected/
REGRESS = $(patsubst test/sql/%.sql,%,$(wildcard test/sql/*.sql))
REGRESS_OPTS = --inputdir=test --load-extension=vectron

# Or PGXS would look for all of this in src/pg.
VPATH = .
override with_llvm = no
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

vectron.so: $(OUR_LIBS) $(EXPORTS) FORCE
.PHONY: FORCE
FORCE:

# A backend opens libraries for all to see (RTLD_GLOBAL): a helper of ours must
# not answer for another extension's function of the same name.  So only these
# names go out: the library's entrance, every SQL function, and vectron_..., for
# entry points that PostgreSQL finds by name, as those of background workers.
$(EXPORTS): $(OBJS)
	{ echo '{ global: Pg_magic_func; _PG_init; vectron_*;'; \
	  nm -g --defined-only $(OBJS) | sed -n 's/.* T pg_finfo_\(.*\)/\1; pg_finfo_\1;/p'; \
	  echo 'local: *; };'; } > $@

$(OBJS): $(BUILD)/pg/%.o: src/pg/%.c src/pg/pgxs.mk
	@mkdir -p $(@D)
	$(if $(PLAIN),sh test/harness/same.sh $(PLAIN)/pg/$*.o $@ $(SWITCHED) || )$(CC) $(CFLAGS) $(CPPFLAGS) -MMD -MP -c -o $@ $<

-include $(OBJS:.o=.d)
