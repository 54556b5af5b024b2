build-asan/obj/src/wire/peer.o: src/wire/peer.c src/wire/wire.h \
 src/base/bytes.h src/base/status.h
src/wire/wire.h:
src/base/bytes.h:
src/base/status.h:
