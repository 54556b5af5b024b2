build-asan/obj/src/net/link.o: src/net/link.c src/net/net.h \
 src/wire/wire.h src/base/bytes.h src/base/status.h src/base/clock.h \
 src/base/prng.h src/net/private.h
src/net/net.h:
src/wire/wire.h:
src/base/bytes.h:
src/base/status.h:
src/base/clock.h:
src/base/prng.h:
src/net/private.h:
