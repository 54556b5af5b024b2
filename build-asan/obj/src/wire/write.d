build-asan/obj/src/wire/write.o: src/wire/write.c src/wire/wire.h \
 src/base/bytes.h src/base/status.h src/wire/private.h
src/wire/wire.h:
src/base/bytes.h:
src/base/status.h:
src/wire/private.h:
