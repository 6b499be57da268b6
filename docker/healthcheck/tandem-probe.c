/* Asks a server on 127.0.0.1 one question over HTTP. Static, so that it runs in any image, and small, because it
 * runs while the server beside it is being measured.
 *
 *   tandem-probe check PORT FOLDER   sends FOLDER/request.http as it is and compares the outputs in the answer with
 *                                    FOLDER/expected.txt, which holds for each output, all separated by space: the
 *                                    keys in front of its values as A>B>C, the absolute and the relative tolerance, how many
 *                                    values there are, and these, numbers, true or false
 *   tandem-probe get PORT PATH       prints the body of GET PATH
 *
 * Exit code: 0 right (or status 200), 1 wrong, silent or too late, 2 wrongly called. One line on stderr says why.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { LIMIT_S = 8, ANSWER_BYTES = 8 << 20, SHOWN_BYTES = 160 };

static void end(int code, const char *format, ...) {
    va_list values;
    va_start(values, format);
    fputs("tandem-probe: ", stderr);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    va_end(values);
    exit(code);
}

static char *read_file(const char *folder, const char *name, size_t *size) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) end(2, "cannot read %s", path);
    *size = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(*size + 1);
    if (!text || fread(text, 1, *size, file) != *size) end(2, "cannot read %s", path);
    text[*size] = 0;
    fclose(file);
    return text;
}

/* Whether the answer has as many bytes as it says. TorchServe keeps the connection open even if asked to close it. */
static int whole(const char *answer, size_t got) {
    const char *body = strstr(answer, "\r\n\r\n"), *length = strcasestr(answer, "\r\ncontent-length:");
    if (!body || !length || length > body) return 0;
    return got >= (size_t)(body + 4 - answer) + strtoul(length + strlen("\r\ncontent-length:"), NULL, 10);
}

/* The whole answer, headers first, with a 0 after it. */
static char *ask(const char *port_text, const char *request, size_t size) {
    int port = atoi(port_text), server = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    struct timeval limit = {.tv_sec = LIMIT_S};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(server, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(server, (struct sockaddr *)&address, sizeof address)) end(1, "nothing listens on port %d", port);
    for (size_t sent = 0; sent < size;) {
        ssize_t count = send(server, request + sent, size - sent, MSG_NOSIGNAL);
        if (count <= 0) end(1, "port %d did not take the request", port);
        sent += (size_t)count;
    }
    char *answer = malloc(ANSWER_BYTES + 1);
    size_t got = 0;
    ssize_t count = 0;
    while (answer && got < ANSWER_BYTES && (count = recv(server, answer + got, ANSWER_BYTES - got, 0)) > 0) {
        got += (size_t)count;
        answer[got] = 0;
        if (whole(answer, got)) break;
    }
    if (!answer || count < 0) end(1, "port %d did not answer within %d s", port, LIMIT_S);
    answer[got] = 0;
    close(server);
    return answer;
}

/* The body of an answer with status 200. */
static char *body_of(char *answer) {
    int status = 0;
    char *body = strstr(answer, "\r\n\r\n");
    if (sscanf(answer, "HTTP/%*d.%*d %d", &status) != 1 || !body) end(1, "what answered does not speak HTTP");
    if (status != 200) end(1, "status %d: %.*s", status, SHOWN_BYTES, body + 4);
    return body + 4;
}

/* A number, or true or false as 1 or 0; `after` is where it ends, `text` itself where there is none. */
static double value_at(const char *text, char **after) {
    if (!strncmp(text, "true", 4)) return *after = (char *)text + 4, 1;
    if (!strncmp(text, "false", 5)) return *after = (char *)text + 5, 0;
    return strtod(text, after);
}

/* What follows "KEY" in the answer. Its values are no text, so that what is quoted is a key. */
static const char *after_key(const char *body, const char *key) {
    char quoted[1024];
    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    const char *found = strstr(body, quoted);
    if (!found) end(1, "no %s in %.*s", key, SHOWN_BYTES, body);
    return found + strlen(quoted);
}

static void check_output(const char *got, const char *key, char **expected) {
    char *number;
    double absolute = strtod(*expected, expected), relative = strtod(*expected, expected);
    long count = strtol(*expected, expected, 10);
    for (long index = 0;; index++) {
        got += strspn(got, " \t\r\n:[],");
        double value = value_at(got, &number);
        int have = number != got;
        if (index == count && !have && (*got == '}' || *got == '"')) return;
        if (!have || index == count)
            end(1, "%s, value %ld: %s", key, index, have ? "more than expected" : "missing or no number");
        *expected += strspn(*expected, " \t\r\n");
        double right = value_at(*expected, expected);
        /* Written so that a NaN is wrong. */
        if (!(fabs(value - right) <= absolute + relative * fabs(right)))
            end(1, "%s, value %ld is %.9g, expected %.9g", key, index, value, right);
        got = number;
    }
}

/* What follows A>B>C: each key, or text in quotes, is looked for behind the one before. */
static const char *after_path(const char *body, const char *path) {
    char part[512];
    while (*path) {
        size_t length = strcspn(path, ">");
        snprintf(part, sizeof part, "%.*s", (int)length, path);
        body = after_key(body, part);
        path += length + (path[length] == '>');
    }
    return body;
}

static void check(const char *body, char *expected) {
    char key[512];
    int length, outputs = 0;
    for (; sscanf(expected, " %511s%n", key, &length) == 1; outputs++) {
        expected += length;
        check_output(after_path(body, key), key, &expected);
    }
    if (!outputs) end(2, "no output is expected");
}

int main(int count, char **words) {
    alarm(LIMIT_S + 1);
    if (count == 4 && !strcmp(words[1], "check")) {
        size_t size, ignored;
        char *request = read_file(words[3], "request.http", &size);
        char *expected = read_file(words[3], "expected.txt", &ignored);
        check(body_of(ask(words[2], request, size)), expected);
        return 0;
    }
    if (count == 4 && !strcmp(words[1], "get")) {
        char request[4096];
        int size = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", words[3]);
        if (size < 0 || (size_t)size >= sizeof request) end(2, "the path is too long");
        puts(body_of(ask(words[2], request, (size_t)size)));
        return 0;
    }
    end(2, "usage: tandem-probe check PORT FOLDER | tandem-probe get PORT PATH");
}
