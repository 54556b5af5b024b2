build-asan/obj/src/net/streams.o: src/net/streams.c src/net/net.h \
 src/wire/wire.h src/base/bytes.h src/base/status.h src/net/private.h
src/net/net.h:
src/wire/wire.h:
src/base/bytes.h:
src/base/status.h:
src/net/private.h:
