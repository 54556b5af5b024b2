build-asan/obj/src/wire/frame.o: src/wire/frame.c src/wire/wire.h \
 src/base/bytes.h src/base/status.h src/base/hash.h
src/wire/wire.h:
src/base/bytes.h:
src/base/status.h:
src/base/hash.h:
