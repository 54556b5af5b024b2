build-asan/obj/src/net/peer.o: src/net/peer.c src/net/net.h \
 src/wire/wire.h src/base/bytes.h src/base/status.h src/base/clock.h \
 src/net/private.h
src/net/net.h:
src/wire/wire.h:
src/base/bytes.h:
src/base/status.h:
src/base/clock.h:
src/net/private.h:
