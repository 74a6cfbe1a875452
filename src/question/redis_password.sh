unset REDISCLI_AUTH
newline='
'
# Sets $host to the host $1, and fails if that must be an address of this node and is none: a mistyped one would get the password.
own_host() {
    host=${1#elsewhere }
    case $1 in 'elsewhere '* | 127.* | ::1 | localhost) return 0 ;; esac
    [ -n "$(ip -o addr show to "$host" 2>/dev/null)" ]
}
# Sets $password to the value of key $2 in the secrets file $1, which is read as `EnvFile` reads it: where that refuses a file, $trouble says why.
# No process is started that would show it in its arguments.
read_password() {
    password= first= number=0 trouble=no-password
    [ -r "$1" ] || return 1
    while IFS= read -r line; do
        number=$((number + 1))
        line=${line%"${line##*[![:space:]]}"}
        case ${line#"${line%%[![:space:]]*}"} in
            '' | '#'*) continue ;;
            *=*) name=${line%%=*} value=${line#*=} ;;
            *) name= value= ;;
        esac
        case $name in
            '' | [0-9]* | *[!A-Za-z0-9_]*) trouble="no-assignment $number"; return 1 ;;
        esac
        case $value in
            [[:space:]]*) trouble="no-assignment $number"; return 1 ;;
            \"*\" | \'*\') ;;
            \"* | \'*) trouble="quotes $number"; return 1 ;;
        esac
        if [ "$name" = "$2" ]; then
            [ -z "$first" ] || { trouble="twice $first $number"; return 1; }
            first=$number password=$value
        fi
    done <"$1"
    [ -z "$line" ] || { trouble=truncated; return 1; }
    unquote "$password"
    password=$unquoted
    [ -n "$password" ] || return 1
    # redis-cli splits its input into words; inside double quotes only these two characters are special.
    case $password in
        *[\"\\]*) trouble=odd-password; return 1 ;;
    esac
}
unquote() {
    case $1 in
        \"*\") unquoted=${1#?} unquoted=${unquoted%?} ;;
        \'*\') unquoted=${1#?} unquoted=${unquoted%?} ;;
        *) unquoted=$1 ;;
    esac
}
