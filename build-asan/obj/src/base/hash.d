build-asan/obj/src/base/hash.o: src/base/hash.c src/base/hash.h \
 src/base/bytes.h src/base/status.h
src/base/hash.h:
src/base/bytes.h:
src/base/status.h:
