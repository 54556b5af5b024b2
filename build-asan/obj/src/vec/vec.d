build-asan/obj/src/vec/vec.o: src/vec/vec.c src/vec/vec.h \
 src/vec/kernels.h
src/vec/vec.h:
src/vec/kernels.h:
