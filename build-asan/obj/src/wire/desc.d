build-asan/obj/src/wire/desc.o: src/wire/desc.c src/wire/wire.h \
 src/base/bytes.h src/base/status.h src/base/hash.h src/wire/private.h
src/wire/wire.h:
src/base/bytes.h:
src/base/status.h:
src/base/hash.h:
src/wire/private.h:
