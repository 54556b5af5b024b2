build-asan/obj/src/wire/read.o: src/wire/read.c src/wire/wire.h \
 src/base/bytes.h src/base/status.h src/wire/private.h
src/wire/wire.h:
src/base/bytes.h:
src/base/status.h:
src/wire/private.h:
