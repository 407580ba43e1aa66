// The smallest capsule worth reading: a wasi:http 0.2 component in C, without a libc.
// It answers every request with a greeting (the variable GREETING, if set) and the path asked for.
//
// A component speaks the canonical ABI. What matters of it here: a resource is an int handle, a string
// or a list is (pointer, length), and a result that does not fit one int is written where the last
// argument points. `ret` is that place: first the tag (0 = ok, or none; 1 = an error, or some), then what it holds.
#include <stddef.h>
#include <stdint.h>

#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))
#define ENVIRONMENT "wasi:cli/environment@0.2.0"
#define STREAMS "wasi:io/streams@0.2.0"
#define HTTP "wasi:http/types@0.2.0"

typedef struct { const char *at; size_t length; } text;
typedef struct { text key, value; } pair;
#define TAG(ret) ((ret)[0] & 0xff)  // one byte: the rest of the int is not written
#define FAILED(ret) (TAG(ret) != 0)
#define TEXT(literal) ((text){literal, sizeof literal - 1})

IMPORT(ENVIRONMENT, "get-environment") void get_environment(void *ret);
IMPORT(HTTP, "[static]fields.from-list") void fields_from_list(const pair *entries, size_t count, void *ret);
IMPORT(HTTP, "[method]incoming-request.path-with-query") void request_path(int request, void *ret);
IMPORT(HTTP, "[resource-drop]incoming-request") void request_drop(int request);
IMPORT(HTTP, "[constructor]outgoing-response") int response_new(int headers);
IMPORT(HTTP, "[method]outgoing-response.body") void response_body(int response, void *ret);
IMPORT(HTTP, "[static]response-outparam.set")
void respond(int out, int is_error, int response, int, int64_t, int, int, int, int);
IMPORT(HTTP, "[method]outgoing-body.write") void body_write(int body, void *ret);
IMPORT(HTTP, "[static]outgoing-body.finish") void body_finish(int body, int has_trailers, int trailers, void *ret);
IMPORT(STREAMS, "[method]output-stream.blocking-write-and-flush")
void stream_write(int stream, const char *bytes, size_t length, void *ret);
IMPORT(STREAMS, "[resource-drop]output-stream") void stream_drop(int stream);

enum { WRITE_MAX_BYTES = 4096 };  // what one blocking-write-and-flush may carry

// Memory that the host fills (path, environment). One request never frees, the next starts over, so an
// instance may answer any number of them. A request that does not fit traps: the host answers 500.
static _Alignas(16) char arena[128 * 1024];
static size_t arena_used;

EXPORT("cabi_realloc") void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
  (void)old, (void)old_size;  // the host only ever asks for new memory
  size_t start = (arena_used + align - 1) & ~(align - 1);
  if (start > sizeof arena || size > sizeof arena - start) __builtin_trap();
  arena_used = start + size;
  return arena + start;
}

static int same(text a, text b) {
  if (a.length != b.length) return 0;
  for (size_t i = 0; i < a.length; i++)
    if (a.at[i] != b.at[i]) return 0;
  return 1;
}

static text greeting(void) {
  struct { const pair *entries; size_t count; } environment;
  get_environment(&environment);
  for (size_t i = 0; i < environment.count; i++)
    if (same(environment.entries[i].key, TEXT("GREETING"))) return environment.entries[i].value;
  return TEXT("hello from a capsule");
}

static char *append(char *end, text part) {
  for (size_t i = 0; i < part.length; i++) *end++ = part.at[i];
  return end;
}

// "GREETING: PATH\n", in one piece: every write is a trip to the host.
static text answer(text path) {
  text hello = greeting();
  char *start = cabi_realloc(NULL, 0, 1, hello.length + path.length + 3);
  char *end = append(append(append(append(start, hello), TEXT(": ")), path), TEXT("\n"));
  return (text){start, (size_t)(end - start)};
}

// Whether all of it went out: a client that left is no reason to trap, only to stop.
static int write_all(int stream, text rest) {
  int ret[3] = {0};
  while (rest.length > 0 && !FAILED(ret)) {
    size_t length = rest.length < WRITE_MAX_BYTES ? rest.length : WRITE_MAX_BYTES;
    stream_write(stream, rest.at, length, ret);
    rest = (text){rest.at + length, rest.length - length};
  }
  return !FAILED(ret);
}

EXPORT("wasi:http/incoming-handler@0.2.0#handle") void handle(int request, int out) {
  static const pair headers[] = {{{"content-type", 12}, {"text/plain; charset=utf-8", 25}}};
  _Alignas(8) int ret[10];  // the largest result, of outgoing-body.finish, is 40 bytes
  arena_used = 0;

  request_path(request, ret);
  text path = TAG(ret) ? (text){(const char *)ret[1], (size_t)ret[2]} : TEXT("/");
  fields_from_list(headers, 1, ret);
  int response = response_new(ret[1]);
  response_body(response, ret);
  int body = ret[1];
  respond(out, 0, response, 0, 0, 0, 0, 0, 0);  // the head may leave now; the body follows

  body_write(body, ret);
  int stream = ret[1];
  int written = write_all(stream, answer(path));
  stream_drop(stream);
  if (written) body_finish(body, 0, 0, ret);
  request_drop(request);
}
