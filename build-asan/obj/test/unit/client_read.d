build-asan/obj/test/unit/client_read.o: test/unit/client_read.c \
 test/unit/fake_cluster.h test/unit/fake_world.h src/base/hash.h \
 src/base/bytes.h src/base/status.h src/base/prng.h src/client/client.h \
 src/base/clock.h src/vec/vec.h src/wire/wire.h
test/unit/fake_cluster.h:
test/unit/fake_world.h:
src/base/hash.h:
src/base/bytes.h:
src/base/status.h:
src/base/prng.h:
src/client/client.h:
src/base/clock.h:
src/vec/vec.h:
src/wire/wire.h:
