build-asan/obj/src/net/sockets.o: src/net/sockets.c src/net/net.h \
 src/wire/wire.h src/base/bytes.h src/base/status.h src/net/private.h
src/net/net.h:
src/wire/wire.h:
src/base/bytes.h:
src/base/status.h:
src/net/private.h:
