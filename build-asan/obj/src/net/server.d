build-asan/obj/src/net/server.o: src/net/server.c src/net/net.h \
 src/wire/wire.h src/base/bytes.h src/base/status.h src/base/breaks.h \
 src/net/private.h
src/net/net.h:
src/wire/wire.h:
src/base/bytes.h:
src/base/status.h:
src/base/breaks.h:
src/net/private.h:
