build-asan/obj/src/client/client.o: src/client/client.c \
 src/client/private.h src/base/prng.h src/client/client.h \
 src/base/clock.h src/vec/vec.h src/wire/wire.h src/base/bytes.h \
 src/base/status.h
src/client/private.h:
src/base/prng.h:
src/client/client.h:
src/base/clock.h:
src/vec/vec.h:
src/wire/wire.h:
src/base/bytes.h:
src/base/status.h:
