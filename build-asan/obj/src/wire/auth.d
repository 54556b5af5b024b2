build-asan/obj/src/wire/auth.o: src/wire/auth.c src/wire/wire.h \
 src/base/bytes.h src/base/status.h
src/wire/wire.h:
src/base/bytes.h:
src/base/status.h:
