import pytest

from serving.stores.redis_address import redis_address


def test_what_is_ours_in_the_query_is_taken_out_and_the_rest_is_left_to_the_driver() -> None:
    address = redis_address("redis://host:6379/3?namespace=shop&lease=2.5&health_check_interval=30")
    assert address.url == "redis://host:6379/3?health_check_interval=30"
    assert (address.namespace, address.seconds, address.cluster) == ("shop", {"lease": 2.5}, False)


def test_a_url_without_a_query_is_of_the_namespace_topshelf() -> None:
    assert redis_address("redis://host:6379/0").namespace == "topshelf"


@pytest.mark.parametrize("url", ["redis://:secret@host:6379/0", "rediss+cluster://user:secret@host:6379"])
def test_where_a_redis_is_is_told_without_its_password(url: str) -> None:
    assert redis_address(url).where == "host:6379"


def test_a_connection_to_one_node_keeps_to_tls_where_the_url_says_so() -> None:
    client = redis_address("rediss://host:6379/0?namespace=shop").connect(0.1)
    assert client.connection_pool.connection_class.__name__ == "SSLConnection"
    assert client.connection_pool.connection_kwargs["socket_timeout"] == 0.1
