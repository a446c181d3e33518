/* Links the library and runs it: the C library is all it may need. */
int purity_check(void);

int main(void) { return purity_check(); }
