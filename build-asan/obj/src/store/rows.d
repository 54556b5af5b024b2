build-asan/obj/src/store/rows.o: src/store/rows.c src/store/store.h \
 src/base/bytes.h src/base/status.h src/base/hash.h
src/store/store.h:
src/base/bytes.h:
src/base/status.h:
src/base/hash.h:
