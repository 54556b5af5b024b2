build-asan/obj/src/client/stream.o: src/client/stream.c src/base/hash.h \
 src/base/bytes.h src/base/status.h src/client/scan.h \
 src/client/private.h src/base/prng.h src/client/client.h \
 src/base/clock.h src/vec/vec.h src/wire/wire.h
src/base/hash.h:
src/base/bytes.h:
src/base/status.h:
src/client/scan.h:
src/client/private.h:
src/base/prng.h:
src/client/client.h:
src/base/clock.h:
src/vec/vec.h:
src/wire/wire.h:
